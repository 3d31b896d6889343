"""Where steps and jobs run: one folder for each technology."""
