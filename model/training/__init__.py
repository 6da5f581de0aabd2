"""What only training needs. Serving never imports it."""
