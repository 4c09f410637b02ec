"""Getting a public release: a download that resumes and is checked, and unpacking that trusts no archive."""
