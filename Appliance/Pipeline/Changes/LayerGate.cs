namespace Vmsweep.Appliance.Pipeline.Changes;

/// <summary>Of VMs that are scanned at once and share a layer of which nothing is known yet, one reads it; the others wait, and then need not.</summary>
internal sealed class LayerGate
{
    private readonly HashSet<string> _busy = new(StringComparer.Ordinal);
    private readonly Lock _lock = new();
    private TaskCompletionSource _left = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>All of them or none; null: some are being read.</summary>
    public IDisposable? TryEnter(IReadOnlyCollection<string> layers, out Task left)
    {
        lock (_lock)
        {
            left = _left.Task;
            if (layers.Any(_busy.Contains))
            {
                return null;
            }

            _busy.UnionWith(layers);
            return new Entered(this, layers);
        }
    }

    private void Leave(IReadOnlyCollection<string> layers)
    {
        TaskCompletionSource left;
        lock (_lock)
        {
            _busy.ExceptWith(layers);
            (left, _left) = (_left, new(TaskCreationOptions.RunContinuationsAsynchronously));
        }

        left.SetResult();
    }

    private sealed class Entered(LayerGate gate, IReadOnlyCollection<string> layers) : IDisposable
    {
        public void Dispose() => gate.Leave(layers);
    }
}
