"""What the lessons implement, as ordinary functions: the reference answers to the exercises.

What stands between `# exercise 3.1: ...` and `# end` is left to the reader in lessons/exercises.
"""
