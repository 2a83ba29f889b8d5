using Vmsweep.Appliance.Connectors.Datastore;
using Vmsweep.Appliance.Worker;
using Vmsweep.Signatures.Bundles;

namespace Vmsweep.Appliance.Cli;

/// <summary>The one place where a command that cannot be carried out becomes a message and status 2.</summary>
internal static class CommandFailure
{
    /// <summary>Runs off the caller's thread, so that Ctrl-C is heard while it works.</summary>
    public static Task<int> Guard(Func<int> command) => Task.Run(() => Run(command));

    private static int Run(Func<int> command)
    {
        try
        {
            return command();
        }
        catch (Exception e) when (e is TargetException or JobFailedException or BundleException or IOException or UnauthorizedAccessException)
        {
            Console.Error.WriteLine("vmsweep: " + Printable.Of(e.Message));
            return ExitStatus.CannotRun;
        }
        catch (OperationCanceledException)
        {
            Console.Error.WriteLine("vmsweep: interrupted");
            return ExitStatus.Incomplete;
        }
        catch (Exception e)
        {
            // A defect of this program. It must not end with the status of a detection, which an unhandled exception would.
            Console.Error.WriteLine("vmsweep: this is a defect of vmsweep: " + Printable.Of(e.ToString()));
            return ExitStatus.CannotRun;
        }
    }
}
