"""The Open Inference Protocol over gRPC, beside the HTTP server of the same process."""
