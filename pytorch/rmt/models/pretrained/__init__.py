"""Memory around pretrained models: any Hugging Face model as a recurrent one."""
