#!/bin/sh
# Beside the Ray node of a spot machine: once AWS (two minutes ahead) or Google (half a minute) announces that it takes the
# machine back, Ray moves what runs there. Usage: drain_on_notice HEAD_IP:6379
aws=${AWS_METADATA:-http://169.254.169.254}
google=${GOOGLE_METADATA:-http://metadata.google.internal}

announced() {
  token=$(curl -sf -m 2 -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' "$aws/latest/api/token") &&
    curl -sf -m 2 -o /dev/null -H "X-aws-ec2-metadata-token: $token" "$aws/latest/meta-data/spot/instance-action" &&
    left=110 && return
  curl -sf -m 2 -H 'Metadata-Flavor: Google' "$google/computeMetadata/v1/instance/preempted" | grep -q TRUE && left=25
}

until announced; do sleep 5; done
RAY_ADDRESS=$1 exec ray drain-node --address="$1" --reason=DRAIN_NODE_REASON_PREEMPTION \
  --reason-message='spot machine taken back' --deadline-remaining-seconds="$left"
