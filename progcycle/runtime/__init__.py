"""What several processes and long runs need, whatever is trained: no task, no growth and no recipe is known here."""
