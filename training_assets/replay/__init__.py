"""What a retraining policy would have done: the recorded history replayed under the policy that ran, or under another one."""
