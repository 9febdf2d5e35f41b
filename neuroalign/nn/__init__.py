"""Networks, likelihoods, sharing rules and the objective: tensors only, nothing about animals."""
