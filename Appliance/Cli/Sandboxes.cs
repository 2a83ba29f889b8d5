using Vmsweep.Appliance.Worker;

namespace Vmsweep.Appliance.Cli;

/// <summary>Opens the sandbox that the operator asked for, and says loudly where it is less.</summary>
internal static class Sandboxes
{
    /// <exception cref="JobFailedException">A full sandbox is required and cannot be had.</exception>
    public static Sandbox Open(SandboxMode mode)
    {
        Sandbox sandbox = Sandbox.Probe(mode);
        if (!sandbox.IsFull)
        {
            if (mode == SandboxMode.Require)
            {
                throw new JobFailedException($"no full sandbox: {sandbox.Detail}");
            }

            Console.Error.WriteLine($"vmsweep: WARNING: sandbox reduced: {sandbox.Detail}");
        }

        return sandbox;
    }
}
