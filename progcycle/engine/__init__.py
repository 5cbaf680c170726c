"""Training. With the runtime below it, the only room that imports accelerate."""
