package v1alpha1

// Condition types of a ReactorToken.
const (
	// ConditionReady is True while the target Secret holds a valid token. When a renewal fails, it stays True until the
	// token in the Secret expires. kubectl get shows its reason.
	ConditionReady = "Ready"
	// ConditionRenewed is True when the last attempt to obtain a token succeeded. It is False, with the reason, while the
	// operator cannot renew the token.
	ConditionRenewed = "Renewed"
	// ConditionLifetimeClamped is True when Reactor granted a shorter lifetime than requested.
	ConditionLifetimeClamped = "LifetimeClamped"
	// ConditionStalled is True only while Ready is False and a user must act. Otherwise it is absent (kstatus).
	ConditionStalled = "Stalled"
)

// Reasons of the conditions Ready and Renewed.
const (
	// ReasonTokenValid (Ready=True): the Secret holds a token that has not expired.
	ReasonTokenValid = "TokenValid"
	// ReasonIssued (Renewed=True): the token in the Secret is the result of the last request.
	ReasonIssued = "Issued"
	// ReasonPending (Ready=False, Renewed=Unknown): the operator is requesting the first token.
	ReasonPending = "Pending"
	// ReasonQueued: a new token is due, and its request is queued because more tokens are due than the installation's
	// rate (--mint-qps) allows.
	ReasonQueued = "Queued"
	// ReasonSuspended: spec.suspend is true, so no token is requested.
	ReasonSuspended = "Suspended"
	// ReasonTokenExpired (Ready=False): the token in the Secret has expired, and the operator could not obtain a new one.
	ReasonTokenExpired = "TokenExpired"

	// ReasonAPIKeyNotFound: the Secret of spec.apiKeySecretRef, or the key in it, does not exist. The operator
	// continues by itself when the Secret and its key exist.
	ReasonAPIKeyNotFound = "APIKeyNotFound"
	// ReasonAPIKeyInvalid: the value in the Secret of spec.apiKeySecretRef is not an API key. API keys start with rk_.
	ReasonAPIKeyInvalid = "APIKeyInvalid"
	// ReasonAPIKeyRefused: Reactor answered 401. Every ReactorToken with this API key waits until the key changes.
	// One of them tries the key again after 30 seconds, then after twice that, up to 15 minutes, and before a token
	// of the key expires.
	ReasonAPIKeyRefused = "APIKeyRefused"
	// ReasonRateLimited: Reactor answered 429. Every ReactorToken with this API key waits until the time that
	// Reactor specified.
	ReasonRateLimited = "RateLimited"
	// ReasonRequestRefused: Reactor refused this request (400, 403, 422 and the like). The operator retries every 15
	// minutes for six hours, then every hour, and again before the token expires. Such retries have the lowest
	// priority and use at most a tenth of --mint-qps. The operator retries immediately when the request or the key
	// changes, or when a renewal is requested by annotation.
	ReasonRequestRefused = "RequestRefused"
	// ReasonReactorUnavailable: Reactor could not be reached or did not give a usable answer, or something between
	// the operator and Reactor answered. The operator tries again at status.nextAttemptTime.
	ReasonReactorUnavailable = "ReactorUnavailable"
	// ReasonMintBudgetSpent: another client repeatedly changes or deletes the target Secret, the key or the spec, and this
	// object has used its budget of token requests. The operator continues at status.nextAttemptTime.
	ReasonMintBudgetSpent = "MintBudgetSpent"

	// ReasonSecretContested: the token is intact, but another client repeatedly changes other fields of the target Secret
	// that the operator owns.
	ReasonSecretContested = "SecretContested"

	// ReasonSecretNotOwned: a Secret with the target's name exists, and the operator did not create it. The operator does
	// not change it.
	ReasonSecretNotOwned = "SecretNotOwned"
	// ReasonSecretClaimed: an older ReactorToken writes the same Secret.
	ReasonSecretClaimed = "SecretClaimed"
	// ReasonSecretUnusable: the target Secret is immutable or is not of type Opaque.
	ReasonSecretUnusable = "SecretUnusable"
	// ReasonSecretTerminating: the target Secret is being deleted. The operator creates it again when it is deleted.
	ReasonSecretTerminating = "SecretTerminating"
	// ReasonSecretWriteRefused: the operator obtained a token, but the API server does not store it (a quota, an admission
	// policy, an unavailable webhook). The operator keeps the token in memory and retries the write.
	ReasonSecretWriteRefused = "SecretWriteRefused"
)

// ReasonReadRefused (Renewed=False, and without a valid token Ready=False and Stalled=True): the API server refuses a
// read that the operator needs, for example because a Role is missing. The operator retries with backoff, at most a
// minute apart.
const ReasonReadRefused = "ReadRefused"

// Reasons of the condition LifetimeClamped.
const (
	// ReasonAsRequested (LifetimeClamped=False): the granted lifetime is the requested one.
	ReasonAsRequested = "AsRequested"
	// ReasonShortened (LifetimeClamped=True): the granted lifetime is shorter than the requested one.
	ReasonShortened = "Shortened"
	// ReasonRenewBeforeIgnored (LifetimeClamped=True): the granted lifetime is also too short for spec.renewBefore. The
	// operator uses the default instead, a third of the granted lifetime.
	ReasonRenewBeforeIgnored = "RenewBeforeIgnored"
)
