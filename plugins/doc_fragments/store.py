# Copyright (c) 2026, the consulops.failover founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Where snapshots are stored, and how encrypted ones are opened."""

    DOCUMENTATION = r"""
options:
  store:
    description:
      - How the object store is reached that O(path) names with C(s3://BUCKET/PREFIX/), C(gs://BUCKET/PREFIX/) or
        C(az://CONTAINER/PREFIX/).
      - Without O(store.credentials_file) the credentials are those of the environment (C(AWS_ACCESS_KEY_ID) and so on), else of the
        platform (instance profile, workload identity).
    type: dict
    version_added: 1.3.0
    suboptions:
      region:
        description: Region of an S3 bucket. Falls back to C(AWS_REGION), C(AWS_DEFAULT_REGION) and V(us-east-1).
        type: str
      endpoint:
        description: Address of a store that is not the provider's own, for example V(https://store.example:9000).
        type: str
      account:
        description: Storage account of an C(az://) store. Falls back to C(AZURE_STORAGE_ACCOUNT_NAME).
        type: str
      credentials_file:
        description:
          - For S3, a file like C(~/.aws/credentials), with C(aws_access_key_id) and C(aws_secret_access_key).
          - For Google Cloud Storage, the JSON key of a service account.
          - For Azure, a file of the same form as for S3, with C(account_key), or C(sas_token), or C(tenant_id), C(client_id) and
            C(client_secret).
        type: path
      profile:
        description: Section of O(store.credentials_file) for S3 and Azure.
        type: str
        default: default
      path_style:
        description: Name an S3 bucket in the path, not in the host's name. By default true with O(store.endpoint).
        type: bool
      ca_file:
        description: PEM file with certificate authorities to trust beside those of the library.
        type: path
      server_side_encryption:
        description: How S3 encrypts objects. It does not replace encryption with age, which protects from whoever can read the store.
        type: str
        choices: [AES256, "aws:kms", "aws:kms:dsse"]
      kms_key_id:
        description: Key of KMS with which S3 encrypts objects.
        type: str
      storage_class:
        description: Storage class of new objects, in the provider's words, for example V(STANDARD_IA).
        type: str
      object_lock_mode:
        description:
          - Set a retention with S3's Object Lock for every object that is stored, in this mode. The bucket must have Object Lock. Needs
            credentials in a file or the environment, with C(s3:PutObjectRetention).
        type: str
        choices: [GOVERNANCE, COMPLIANCE]
      object_lock_days:
        description: With O(store.object_lock_mode), how many days nobody can delete the object.
        type: int
      timeout:
        description: Seconds of silence after which the store is given up.
        type: float
        default: 30.0
  at:
    description:
      - Which snapshot of a store or directory is read. V(latest), or a time such as V(2026-11-22T03:00:00Z), of which the newest
        snapshot from then or before is taken. Safety snapshots do not count, nor do those of other datacenters.
      - Without it O(path) names one snapshot, for example C(s3://BUCKET/PREFIX/NAME.snap).
    type: str
    version_added: 1.3.0
  identity_file:
    description:
      - File with the identities that an encrypted snapshot is read with. Those of age (C(age-keygen)), or an SSH key without a
        passphrase.
    type: path
    version_added: 1.3.0
  passphrase_file:
    description:
      - File whose first line is the passphrase of an encrypted snapshot.
    type: path
    version_added: 1.3.0
  scratch_path:
    description:
      - Directory for the private copy of a snapshot while it is sent or read. It is removed afterwards.
      - Without it, the directory for temporary files; of a restore, the directory of the safety snapshot.
    type: path
    version_added: 1.3.0
"""
