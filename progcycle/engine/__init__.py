"""Training. The only room that imports accelerate."""
