"""One S3 bucket, with what S3 refuses as typed errors."""
