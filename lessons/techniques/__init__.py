"""What the lessons implement, as ordinary functions: the reference answers to the exercises."""
