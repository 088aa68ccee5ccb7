"""Adapted models kept on this disk, and shared on the Hugging Face Hub."""
