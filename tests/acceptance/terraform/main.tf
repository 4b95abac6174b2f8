# Every kind of resource that cachefleet serves, as a Terraform user writes them.

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
  description = "Whether node types, versions and parameters are those of the second apply."
  type        = bool
  default     = false
}

provider "aws" {
  region                      = "eu-west-1"
  access_key                  = "111122223333"
  secret_key                  = "cachefleet"
  skip_credentials_validation = true
  skip_requesting_account_id  = true
  skip_metadata_api_check     = true
  skip_region_validation      = true

  endpoints {
    elasticache = var.endpoint_url
  }

  default_tags {
    tags = { managed-by = "terraform" }
  }
}

resource "aws_elasticache_subnet_group" "private" {
  name        = "tf-private"
  description = "Two subnets"
  subnet_ids  = ["subnet-0a0a0a0a", "subnet-0b0b0b0b"]
  tags        = { purpose = "acceptance" }
}

resource "aws_elasticache_parameter_group" "redis" {
  name        = "tf-redis7"
  family      = "redis7"
  description = "An own policy"

  parameter {
    name  = "maxmemory-policy"
    value = var.changed ? "allkeys-lfu" : "allkeys-lru"
  }

  # One goes, another comes.
  parameter {
    name  = var.changed ? "timeout" : "notify-keyspace-events"
    value = var.changed ? "60" : "Kx"
  }
}

resource "aws_elasticache_parameter_group" "valkey" {
  name        = "tf-valkey8"
  family      = "valkey8"
  description = "Of a replication group"

  parameter {
    name  = "slowlog-max-len"
    value = var.changed ? "512" : "256"
  }
}

resource "aws_elasticache_parameter_group" "memcached" {
  name        = "tf-memcached16"
  family      = "memcached1.6"
  description = "Small chunks"

  parameter {
    name  = "chunk_size"
    value = "96"
  }
}

resource "aws_elasticache_cluster" "redis" {
  cluster_id           = "tf-redis"
  engine               = "redis"
  engine_version       = var.changed ? "7.1" : "7.0"
  node_type            = var.changed ? "cache.t3.small" : "cache.t3.micro"
  num_cache_nodes      = 1
  apply_immediately    = true
  parameter_group_name = aws_elasticache_parameter_group.redis.name
  subnet_group_name    = aws_elasticache_subnet_group.private.name
  port                 = 6390
  maintenance_window   = "sun:05:00-sun:06:00"
  tags                 = { purpose = "acceptance" }
}

resource "aws_elasticache_cluster" "memcached" {
  cluster_id           = "tf-memcached"
  engine               = "memcached"
  node_type            = "cache.t3.micro"
  num_cache_nodes      = 2
  parameter_group_name = aws_elasticache_parameter_group.memcached.name
  port                 = 11212
}

resource "aws_elasticache_replication_group" "plain" {
  replication_group_id       = "tf-plain"
  description                = "A primary and a replica"
  engine                     = "valkey"
  engine_version             = var.changed ? "8.1" : "8.0"
  node_type                  = var.changed ? "cache.t3.small" : "cache.t3.micro"
  parameter_group_name       = aws_elasticache_parameter_group.valkey.name
  apply_immediately          = true
  num_cache_clusters         = 2
  automatic_failover_enabled = true
  multi_az_enabled           = true
  subnet_group_name          = aws_elasticache_subnet_group.private.name
  snapshot_window            = "03:00-04:00"
  snapshot_retention_limit   = var.changed ? 3 : 2
  final_snapshot_identifier  = "tf-plain-final"
  maintenance_window         = "sun:05:00-sun:06:00"
  tags                       = { purpose = "acceptance" }
}

resource "aws_elasticache_replication_group" "restored" {
  replication_group_id       = "tf-restored"
  description                = "With the data of a snapshot"
  engine                     = "valkey"
  engine_version             = "8.0"
  node_type                  = "cache.t3.micro"
  num_cache_clusters         = 1
  at_rest_encryption_enabled = true
  snapshot_name              = "tf-seed"
}

resource "aws_elasticache_replication_group" "sown" {
  replication_group_id = "tf-sown"
  description          = "With the data of an object in S3"
  engine               = "valkey"
  engine_version       = "8.0"
  node_type            = "cache.t3.micro"
  num_cache_clusters   = 1
  snapshot_arns        = ["arn:aws:s3:::tf-seeds/seed-0001.rdb"]
}

resource "aws_elasticache_replication_group" "sealed" {
  replication_group_id       = "tf-sealed"
  description                = "TLS and a token"
  engine                     = "valkey"
  node_type                  = "cache.t3.micro"
  num_cache_clusters         = 2
  automatic_failover_enabled = true
  transit_encryption_enabled = true
  auth_token                 = var.changed ? "the-second-of-them-all" : "the-first-token-of-all"
  auth_token_update_strategy = "ROTATE"
}

resource "aws_elasticache_replication_group" "sharded" {
  replication_group_id       = "tf-sharded"
  description                = "Two shards"
  engine                     = "redis"
  engine_version             = "7.1"
  node_type                  = "cache.t3.micro"
  num_node_groups            = 2
  replicas_per_node_group    = 1
  automatic_failover_enabled = true
  parameter_group_name       = "default.redis7.cluster.on"
}

data "aws_elasticache_reserved_cache_node_offering" "small" {
  cache_node_type     = "cache.t4g.small"
  duration            = "P1Y"
  offering_type       = "No Upfront"
  product_description = "redis"
}

resource "aws_elasticache_serverless_cache" "carts" {
  name                     = "tf-carts"
  engine                   = "valkey"
  major_engine_version     = "8"
  description              = "Carts"
  daily_snapshot_time      = "04:30"
  snapshot_retention_limit = 1

  cache_usage_limits {
    data_storage {
      maximum = var.changed ? 3 : 2
      unit    = "GB"
    }
  }
}

resource "aws_elasticache_reserved_cache_node" "small" {
  reserved_cache_nodes_offering_id = data.aws_elasticache_reserved_cache_node_offering.small.offering_id
  id                               = "tf-reserved"
  cache_node_count                 = 2
  tags                             = { purpose = "acceptance" }
}

output "redis_address" {
  value = aws_elasticache_cluster.redis.cache_nodes[0].address
}

output "redis_port" {
  value = aws_elasticache_cluster.redis.cache_nodes[0].port
}

output "memcached_configuration_endpoint" {
  value = aws_elasticache_cluster.memcached.configuration_endpoint
}

output "plain_primary" {
  value = aws_elasticache_replication_group.plain.primary_endpoint_address
}

output "restored_primary" {
  value = aws_elasticache_replication_group.restored.primary_endpoint_address
}

output "sown_primary" {
  value = aws_elasticache_replication_group.sown.primary_endpoint_address
}

output "plain_reader" {
  value = aws_elasticache_replication_group.plain.reader_endpoint_address
}

output "sealed_primary" {
  value = aws_elasticache_replication_group.sealed.primary_endpoint_address
}

output "sharded_configuration_endpoint" {
  value = aws_elasticache_replication_group.sharded.configuration_endpoint_address
}

output "serverless_address" {
  value = aws_elasticache_serverless_cache.carts.endpoint[0].address
}
