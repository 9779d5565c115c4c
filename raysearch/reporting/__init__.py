"""What a person looks at: the live table, the plots, the page."""
