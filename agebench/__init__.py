"""agebench: curate noisy face-age releases, train age estimators, and report errors that can be traced."""

__version__ = "0.1.0"
