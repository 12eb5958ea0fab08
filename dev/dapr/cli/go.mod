module budeval.local/dev/dapr-cli

go 1.26.4

require (
	github.com/dapr/cli v1.16.5
	github.com/dapr/components-contrib v1.16.5
)
