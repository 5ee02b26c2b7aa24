// Only for Debian 12's grpc-go 1.33, which encodes with the protobuf API before 1.4: delete it where modules are used.
package main

import (
	"google.golang.org/grpc/encoding"
	"google.golang.org/protobuf/proto"
)

type codec struct{}

func (codec) Marshal(value interface{}) ([]byte, error) { return proto.Marshal(value.(proto.Message)) }
func (codec) Unmarshal(data []byte, value interface{}) error {
	return proto.Unmarshal(data, value.(proto.Message))
}
func (codec) Name() string { return "proto" }

func init() { encoding.RegisterCodec(codec{}) }
