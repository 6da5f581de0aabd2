"""HTTP in, HTTP out: uploads, resources, problems. No torch and no pixels here."""
