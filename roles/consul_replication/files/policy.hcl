# What the token of consulops-replication needs in the datacenter of the hosts, for Consul 1.8 and later:
#   consul acl policy create -name consulops-replication -rules @policy.hcl
# policy_source.hcl and policy_destination.hcl have what it needs where it copies from and to.

# the entry in the catalog
service "consulops-replication" {
  policy = "write"
}
