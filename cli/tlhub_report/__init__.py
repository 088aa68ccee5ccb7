"""What an adaptation came to, as one page of HTML and one picture."""
