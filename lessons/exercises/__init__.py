"""Yours to fill in: `make next` names the first open exercise, `make check-03` judges them."""
