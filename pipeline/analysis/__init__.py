"""What fine-tuning changed: statistics, tables, figures and the page, in separate layers."""
