"""The AWS sandbox: moto's server, made strict where moto would let a confused deputy pass.

moto answers AssumeRole for any role and any ExternalId. Here the role must exist in the account that its ARN names, and
its trust policy must admit the caller and the ExternalId. Roles come about through IAM or CloudFormation, through
`POST /_sandbox/roles`, or through a page that acts out CloudFormation's quick-create console.
"""
