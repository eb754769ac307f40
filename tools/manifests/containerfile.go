package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// checkContainerfile reads a Containerfile with BuildKit's own parser and linter. The image must run as a numbered user that is not
// root, start the program without a shell, and bring its health check.
func checkContainerfile(path string) (string, []string) {
	file, err := os.Open(path)
	if err != nil {
		return "", []string{err.Error()}
	}
	defer file.Close()
	var faults []string
	add := func(format string, values ...any) { faults = append(faults, fmt.Sprintf(format, values...)) }

	parsed, err := parser.Parse(file)
	if err != nil {
		return "", []string{err.Error()}
	}
	for _, warning := range parsed.Warnings {
		add("%s", warning.Short)
	}
	lint := linter.New(&linter.Config{Warn: func(rule, _, _, message string, at []parser.Range) {
		line := 0
		if len(at) > 0 {
			line = at[0].Start.Line
		}
		add("line %d: %s: %s", line, rule, message)
	}})
	stages, _, err := instructions.Parse(parsed.AST, lint)
	if err != nil {
		return "", append(faults, err.Error())
	}

	names := map[string]bool{"scratch": true}
	for _, stage := range stages {
		if !names[stage.BaseName] {
			image, tag, _ := strings.Cut(stage.BaseName, ":")
			if tag == "" || tag == "latest" {
				add("the base image %s has no fixed tag", image)
			}
		}
		names[stage.Name] = true
	}

	var user string
	var entrypoint, healthcheck bool
	for _, command := range stages[len(stages)-1].Commands {
		switch command := command.(type) {
		case *instructions.UserCommand:
			user = command.User
		case *instructions.EntrypointCommand:
			entrypoint = !command.PrependShell
		case *instructions.HealthCheckCommand:
			test := command.Health.Test
			healthcheck = len(test) > 1 && test[0] == "CMD"
		case *instructions.RunCommand:
			add("the last stage runs a command, and its image has no shell")
		}
	}
	name, _, _ := strings.Cut(user, ":")
	// Kubernetes' runAsNonRoot can only judge a number
	if number, err := strconv.Atoi(name); err != nil || number == 0 {
		add("the user of the last stage is %q, and must be a number other than 0", user)
	}
	if !entrypoint {
		add("the last stage has no ENTRYPOINT in the form of a list")
	}
	if !healthcheck {
		add("the last stage has no HEALTHCHECK in the form of a list")
	}
	return fmt.Sprintf("%d stages", len(stages)), faults
}
