"""Files that import nothing of idgen: one goes into exports, one draws from them."""
