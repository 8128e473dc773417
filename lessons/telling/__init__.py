"""How a lesson is told: its story and page, what is asked and kept, and the notebook."""
