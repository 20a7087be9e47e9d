"""The door: authentication, admission, replica choice and the model list."""
