namespace Vmsweep.Appliance.Connectors.Https;

/// <summary>The host has no room, or asks for the account again: nothing was carried out.</summary>
/// <param name="asked">How long it asks to be left alone; null where it does not say.</param>
internal sealed class BusyException(string message, TimeSpan? asked) : HostLostException(message)
{
    public TimeSpan? Asked => asked;
}
