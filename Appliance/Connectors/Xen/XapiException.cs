namespace Vmsweep.Appliance.Connectors.Xen;

/// <summary>The pool refuses a call, or carried it out and says that it failed. Spec: Xen management API, "Error handling".</summary>
/// <param name="code">Such as <c>SESSION_INVALID</c>.</param>
/// <param name="details">What goes with it, such as the object that is in use.</param>
internal sealed class XapiException(string method, string code, IReadOnlyList<string> details) : IOException($"{method}: {code}{Shown(details)}")
{
    private const int MostDetails = 500;

    public string Code => code;

    public IReadOnlyList<string> Details => details;

    public bool IsSessionInvalid => code == "SESSION_INVALID";

    /// <summary>The session ends again and again, or the pool itself has lost the host.</summary>
    public bool IsLost => code is "SESSION_INVALID" or "HOST_OFFLINE" or "HOST_NOT_LIVE" or "HOST_STILL_BOOTING" or "CANNOT_CONTACT_HOST";

    public bool IsMember => code == "HOST_IS_SLAVE";

    /// <summary>The object is not there any more.</summary>
    public bool IsGone => code is "HANDLE_INVALID" or "UUID_INVALID" or "VDI_MISSING";

    /// <summary>The guest cannot be quiesced, or pools of this version quiesce none: a snapshot without is what is left.</summary>
    public bool IsNoQuiesce => code.StartsWith("VM_SNAPSHOT_WITH_QUIESCE_", StringComparison.Ordinal) || code is "MESSAGE_METHOD_UNKNOWN" or "MESSAGE_REMOVED" or "MESSAGE_DEPRECATED";

    /// <summary>Somebody is at it: a disk stays attached for a moment after its last reader went away.</summary>
    public bool IsBusy => code is "VDI_IN_USE" or "OTHER_OPERATION_IN_PROGRESS" or "DEVICE_ALREADY_ATTACHED" or "SR_BACKEND_FAILURE_24" or "TOO_MANY_PENDING_TASKS";

    private static string Shown(IReadOnlyList<string> details)
    {
        string text = string.Join(", ", details);
        return text.Length == 0 ? "" : $" ({(text.Length > MostDetails ? text[..MostDetails] : text)})";
    }
}
