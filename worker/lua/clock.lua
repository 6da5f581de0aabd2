-- Returns the time of the one clock, in ms.
return now_ms()
