"""How an exercise is judged: marks, answers, the verdict and its words; and the slips."""
