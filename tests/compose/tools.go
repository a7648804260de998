//go:build tools

// Package tools pins the compose plugin that docker-compose.yml is tested with.
package tools

import _ "github.com/docker/compose/v2/cmd"
