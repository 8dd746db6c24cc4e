"""AWS, through boto3: customers' roles, and what of our own account is used. Endpoints and credentials come from the
SDK's own environment (`AWS_ENDPOINT_URL`)."""
