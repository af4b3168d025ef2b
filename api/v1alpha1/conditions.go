package v1alpha1

// Condition types of a ReactorToken.
const (
	// ConditionReady is True while the target Secret holds a valid token. It stays True when a renewal fails, until
	// the token in the Secret really expires. Its reason is what kubectl get shows.
	ConditionReady = "Ready"
	// ConditionRenewed is True when the last attempt to obtain a token succeeded, and False, with the reason, while
	// the operator cannot renew it.
	ConditionRenewed = "Renewed"
	// ConditionLifetimeClamped is True when Reactor granted a shorter lifetime than was asked for.
	ConditionLifetimeClamped = "LifetimeClamped"
	// ConditionStalled is True only while Ready is False and a person must act. It is absent otherwise (kstatus).
	ConditionStalled = "Stalled"
)

// Reasons of the conditions Ready and Renewed.
const (
	// ReasonTokenValid (Ready=True): the Secret holds a token that has not expired.
	ReasonTokenValid = "TokenValid"
	// ReasonIssued (Renewed=True): the token in the Secret is the one that was last asked for.
	ReasonIssued = "Issued"
	// ReasonPending (Ready=False, Renewed=Unknown): the first token is on its way.
	ReasonPending = "Pending"
	// ReasonQueued: a new token is due, and its request is queued because more tokens are due than the installation's
	// rate (--mint-qps) allows.
	ReasonQueued = "Queued"
	// ReasonSuspended: spec.suspend is true, so no token is requested.
	ReasonSuspended = "Suspended"
	// ReasonTokenExpired (Ready=False): the token in the Secret has expired, and no new one could be had.
	ReasonTokenExpired = "TokenExpired"

	// ReasonAPIKeyNotFound: the Secret of spec.apiKeySecretRef, or the key in it, does not exist. The operator
	// continues by itself when it appears.
	ReasonAPIKeyNotFound = "APIKeyNotFound"
	// ReasonAPIKeyInvalid: what stands in the Secret of spec.apiKeySecretRef does not look like an API key, which
	// begins with rk_.
	ReasonAPIKeyInvalid = "APIKeyInvalid"
	// ReasonAPIKeyRefused: Reactor answered 401. Every ReactorToken with this API key waits until the key changes.
	// One of them tries the key again after 30 seconds, then after twice that, up to 15 minutes, and before a token
	// of the key expires.
	ReasonAPIKeyRefused = "APIKeyRefused"
	// ReasonRateLimited: Reactor answered 429. Every ReactorToken with this API key waits until the time that
	// Reactor specified.
	ReasonRateLimited = "RateLimited"
	// ReasonRequestRefused: Reactor refused this request (400, 403, 422 and the like). The operator retries every 15
	// minutes for six hours, then every hour, and once more before the token expires. Such retries have the lowest
	// priority and take at most a tenth of --mint-qps. The operator retries immediately when the request or the key
	// changes, or a renewal is requested by annotation.
	ReasonRequestRefused = "RequestRefused"
	// ReasonReactorUnavailable: Reactor could not be reached or did not give a usable answer, or something between
	// the operator and Reactor answered. The operator tries again at status.nextAttemptTime.
	ReasonReactorUnavailable = "ReactorUnavailable"
	// ReasonMintBudgetSpent: something keeps changing or deleting the target Secret, the key or the spec, and this
	// object has asked for as many tokens as it may. It goes on at status.nextAttemptTime.
	ReasonMintBudgetSpent = "MintBudgetSpent"

	// ReasonSecretContested: the token is right, but something else keeps changing what the operator owns around it in the
	// target Secret.
	ReasonSecretContested = "SecretContested"

	// ReasonSecretNotOwned: a Secret with the target's name exists and is not the operator's. It is not touched.
	ReasonSecretNotOwned = "SecretNotOwned"
	// ReasonSecretClaimed: an older ReactorToken writes the same Secret.
	ReasonSecretClaimed = "SecretClaimed"
	// ReasonSecretUnusable: the target Secret is immutable or is not of type Opaque.
	ReasonSecretUnusable = "SecretUnusable"
	// ReasonSecretTerminating: the target Secret is being deleted; it is written again once it is gone.
	ReasonSecretTerminating = "SecretTerminating"
	// ReasonSecretWriteRefused: a token is there, but the API server does not store it (a quota, an admission
	// policy, a webhook that does not answer). The token is kept in memory and written as soon as that succeeds.
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
	// ReasonRenewBeforeIgnored (LifetimeClamped=True): besides, spec.renewBefore does not fit into the granted
	// lifetime, and the default, a third of it, is used instead.
	ReasonRenewBeforeIgnored = "RenewBeforeIgnored"
)
