"""Models on the Hugging Face hub, or on another endpoint that speaks as it does (`HF_ENDPOINT`)."""
