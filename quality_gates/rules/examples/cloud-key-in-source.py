import boto3

# ruleid: cloud-key-in-source
boto3.client("s3", aws_access_key_id="example", aws_secret_access_key="an example, not a key")
# ok: cloud-key-in-source
boto3.client("s3", region_name="eu-west-1")
