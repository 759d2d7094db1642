"""From a run to the version that is served: export, validate, bless, push, roll back."""
