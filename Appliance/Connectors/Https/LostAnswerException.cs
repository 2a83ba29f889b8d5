namespace Vmsweep.Appliance.Connectors.Https;

/// <summary>A call was sent and no answer came: whether it was carried out is not known.</summary>
internal sealed class LostAnswerException(string message, Exception inner) : IOException(message, inner);
