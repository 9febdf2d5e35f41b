"""What latents, imputed activity and counts tell: scores with their chance level, and figures."""
