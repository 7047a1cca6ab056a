"""What the benchmark commands share: contenders in processes of their own, their models and texts, tables, results."""
