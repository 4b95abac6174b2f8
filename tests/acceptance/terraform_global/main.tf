# Two global datastores of two regions, as a Terraform user writes them.

terraform {
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.0"
    }
  }
}

variable "endpoint_url" {
  description = "Where cachefleet listens."
  type        = string
}

variable "changed" {
  description = "Whether the node type is that of the second apply."
  type        = bool
  default     = false
}

provider "aws" {
  region                      = "us-east-1"
  access_key                  = "111122224444"
  secret_key                  = "cachefleet"
  skip_credentials_validation = true
  skip_requesting_account_id  = true
  skip_metadata_api_check     = true
  skip_region_validation      = true

  endpoints {
    elasticache = var.endpoint_url
  }
}

provider "aws" {
  alias                       = "there"
  region                      = "eu-west-1"
  access_key                  = "111122224444"
  secret_key                  = "cachefleet"
  skip_credentials_validation = true
  skip_requesting_account_id  = true
  skip_metadata_api_check     = true
  skip_region_validation      = true

  endpoints {
    elasticache = var.endpoint_url
  }
}

resource "aws_elasticache_replication_group" "near" {
  replication_group_id = "tf-near"
  description          = "leads"
  engine               = "redis"
  engine_version       = "7.1"
  node_type            = "cache.r7g.large"
  num_cache_clusters   = 1

  lifecycle {
    ignore_changes = [node_type, engine_version, parameter_group_name]
  }
}

resource "aws_elasticache_global_replication_group" "plain" {
  global_replication_group_id_suffix = "plain"
  primary_replication_group_id       = aws_elasticache_replication_group.near.id
  cache_node_type                    = var.changed ? "cache.r7g.xlarge" : "cache.r7g.large"
}

resource "aws_elasticache_replication_group" "far" {
  provider                    = aws.there
  replication_group_id        = "tf-far"
  description                 = "follows"
  global_replication_group_id = aws_elasticache_global_replication_group.plain.id
  num_cache_clusters          = 1
}

resource "aws_elasticache_replication_group" "near_shards" {
  replication_group_id       = "tf-near-shards"
  description                = "leads, in shards"
  engine                     = "redis"
  engine_version             = "7.1"
  node_type                  = "cache.r7g.large"
  num_node_groups            = 2
  replicas_per_node_group    = 0
  automatic_failover_enabled = true
  parameter_group_name       = "default.redis7.cluster.on"

  lifecycle {
    ignore_changes = [parameter_group_name]
  }
}

resource "aws_elasticache_global_replication_group" "shards" {
  global_replication_group_id_suffix = "shards"
  primary_replication_group_id       = aws_elasticache_replication_group.near_shards.id
}

resource "aws_elasticache_replication_group" "far_shards" {
  provider                    = aws.there
  replication_group_id        = "tf-far-shards"
  description                 = "follows, in shards"
  global_replication_group_id = aws_elasticache_global_replication_group.shards.id
  replicas_per_node_group     = 0

  lifecycle {
    ignore_changes = [automatic_failover_enabled] # what the primary has, and the provider forgets
  }
}

output "members" {
  value = {
    for group in [
      aws_elasticache_global_replication_group.plain,
      aws_elasticache_global_replication_group.shards,
    ] : group.global_replication_group_id => group.cluster_enabled
  }
}
