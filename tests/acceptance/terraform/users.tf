# Users, a user group, and one more user associated with it.

resource "aws_elasticache_user" "default" {
  user_id              = "tf-default"
  user_name            = "default"
  engine               = "redis"
  access_string        = "off -@all"
  no_password_required = true
}

resource "aws_elasticache_user" "app" {
  user_id       = "tf-app"
  user_name     = "app"
  engine        = "redis"
  access_string = var.changed ? "on ~app:* +@all" : "on ~app:* -@all +@read"
  tags          = { purpose = "acceptance" }

  authentication_mode {
    type      = "password"
    passwords = ["a-password-of-terraform"]
  }
}

resource "aws_elasticache_user" "late" {
  user_id       = "tf-late"
  user_name     = "late"
  engine        = "redis"
  access_string = "on ~* -@all +@read"
  passwords     = ["a-password-of-terraform"]
}

resource "aws_elasticache_user_group" "team" {
  user_group_id = "tf-team"
  engine        = "redis"
  user_ids      = [aws_elasticache_user.default.user_id, aws_elasticache_user.app.user_id]
  tags          = { purpose = "acceptance" }

  lifecycle {
    ignore_changes = [user_ids]
  }
}

resource "aws_elasticache_user_group_association" "late" {
  user_group_id = aws_elasticache_user_group.team.user_group_id
  user_id       = aws_elasticache_user.late.user_id
}
