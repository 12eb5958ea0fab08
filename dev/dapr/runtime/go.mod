module budeval.local/dev/dapr

go 1.26.6

require github.com/dapr/dapr v1.18.2

replace dubbo.apache.org/dubbo-go/v3 => dubbo.apache.org/dubbo-go/v3 v3.0.3-0.20230118042253-4f159a2b38f3

replace gopkg.in/couchbaselabs/gocbconnstr.v1 => github.com/couchbaselabs/gocbconnstr v1.0.5

replace github.com/chenzhuoyu/iasm => github.com/chenzhuoyu/iasm v0.9.0

replace github.com/chzyer/logex => github.com/chzyer/logex v1.2.1

replace github.com/gobwas/pool => github.com/gobwas/pool v0.2.1

replace github.com/toolkits/concurrent => github.com/niean/gotools v0.0.0-20151221085310-ff3f51fc5c60
