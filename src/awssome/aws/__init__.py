"""AWS, through boto3: the roles of customers. Endpoints come from the SDK's own environment (`AWS_ENDPOINT_URL`)."""
