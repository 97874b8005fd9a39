"""The account's own operations: its balance, links to its files, and files that are given to KIE."""

from __future__ import annotations

from airflow_kie.client.operations.operation import CallOperation, Host

UPLOADED = "kie-upload:"
"""How a request names a file of S3 that KIE is given: its address takes this reference's place when it is sent."""
CREDIT = CallOperation(
    "credit", "Get Remaining Credits", "common-api/get-account-credits", "/api/v1/chat/credit", method="GET"
)
DOWNLOAD_URL = CallOperation(
    "download_url", "Get Download URL", "common-api/download-url", "/api/v1/common/download-url", required=("url",)
)
UPLOAD_BASE64 = CallOperation(
    "upload.base64",
    "Base64 File Upload",
    "file-upload-api/upload-file-base-64",
    "/api/file-base64-upload",
    required=("base64Data", "uploadPath"),
    host=Host.UPLOAD,
)
UPLOAD_STREAM = CallOperation(
    "upload.stream",
    "File Stream Upload",
    "file-upload-api/upload-file-stream",
    "/api/file-stream-upload",
    required=("uploadPath",),
    host=Host.UPLOAD,
    file_field="file",
)
UPLOAD_URL = CallOperation(
    "upload.url",
    "URL File Upload",
    "file-upload-api/upload-file-url",
    "/api/file-url-upload",
    required=("fileUrl", "uploadPath"),
    host=Host.UPLOAD,
)
