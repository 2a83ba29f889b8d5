namespace Vmsweep.Appliance.Connectors.Views;

/// <summary>A view is to tell what changed.</summary>
/// <param name="Since">The mark of an earlier view; null when there is none.</param>
internal sealed record Tracking(string? Since);
